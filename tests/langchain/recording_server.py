"""A server in a thread that keeps the requests it gets and answers by script."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def answer(text="Hi", **message):
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, **message}}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]} | {
        "usage": USAGE
    }


def piece(delta=None, **more):
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": [] if delta is None else [{"index": 0, "delta": delta} | more.pop("choice", {})], **more}


def lowered(headers):
    return {name.lower(): value for name, value in headers.items()}


class Recorder:
    """Requests and answers; `status` and `body` are what comes next, `events` a stream."""

    def __init__(self):
        self.requests = []
        self.status, self.body, self.events = 200, answer(), None
        self.models = ["m"]
        self.card = {}  # further fields of each model's
        self.delay = 0.0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def last(self):
        return self.requests[-1]

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def handler(recorder):  # noqa: N805 - the handler has the self
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                recorder.requests.append((self.path, lowered(self.headers), None))
                self.reply(
                    {"data": [{"id": name, "max_model_len": 99, **recorder.card} for name in recorder.models]}, 200
                )

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                recorder.requests.append((self.path, lowered(self.headers), body))
                time.sleep(recorder.delay)
                if self.path.endswith("/tokenize") and recorder.status == 200:
                    self.reply({"count": 5, "tokens": [1, 2]}, 200)
                elif body.get("stream") and recorder.events is not None:
                    self.reply(None, 200)
                else:
                    self.reply(recorder.body, recorder.status)

            def reply(self, body, status):
                events = [json.dumps(event) for event in recorder.events or ()] + ["[DONE]"]
                text = json.dumps(body) if body is not None else "".join(f"data: {event}\n\n" for event in events)
                self.send_response(status)
                self.send_header("Content-Type", "application/json" if body is not None else "text/event-stream")
                self.send_header("X-Proof", "yes")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args):
                pass

        return Handler
