"""A program that takes the command line of `vllm serve` and answers like it, without a model; standard library alone.

What the last message says is what it does: "die", "die slowly", "break", "hang", "tell", or else an answer.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = sys.argv[2]
PORT = int(sys.argv[sys.argv.index("--port") + 1])
KEY = os.environ["VLLM_API_KEY"]
COMPANION = subprocess.Popen(["sleep", "1000"])  # as vLLM has workers
DYING = threading.Event()
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    address_family = socket.AF_INET

    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as vLLM 0.32 does, and no more
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "127.0.0.1", PORT


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/health":
            self.reply({}, 503 if DYING.is_set() else 200)
        elif self.headers["Authorization"] != f"Bearer {KEY}":
            self.reply({"error": "Unauthorized"}, 401)
        else:
            self.reply({"object": "list", "data": [{"id": MODEL, "max_model_len": 77}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self.reply({"error": "Unauthorized"}, 401)
        elif "chat/completions" not in self.path:
            self.reply({"detail": "Not Found"}, 404)
        else:
            self.chat(body, body["messages"][-1]["content"])

    def chat(self, body, wish):
        if wish == "hang":
            time.sleep(1000)
        if wish == "die" and not body.get("stream"):
            os._exit(3)
        told = {"pid": os.getpid(), "companion": COMPANION.pid, "argv": sys.argv, "body": body}
        told["headers"] = dict(self.headers)
        told["token"] = os.environ.get("HF_TOKEN")
        text = json.dumps(told) if wish == "tell" else f"pid {os.getpid()}"
        head = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        if body.get("stream"):
            self.stream({**head, "object": "chat.completion.chunk"}, text, wish)
            return
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        self.reply({**head, "object": "chat.completion", "choices": [choice], "usage": USAGE})

    def stream(self, head, text, wish):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.event({**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": text}}]})
        if wish == "die":
            os._exit(3)
        if wish == "die slowly":
            DYING.set()
            threading.Timer(1.5, os._exit, (0,)).start()
            self.event({"error": {"message": "EngineCore encountered an issue.", "code": 500}})
            self.chunk(b"data: [DONE]\n\n")
            self.chunk(b"")
            return
        if wish == "break":
            self.close_connection = True
            self.wfile.write(b"0\r\n\r\n")
            return
        self.event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.event({**head, "choices": [], "usage": USAGE})
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, data):
        self.chunk(b"data: " + json.dumps(data).encode() + b"\n\n")

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def reply(self, body, status=200):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


BROKEN = """\
(VllmWorker-0 pid=7) ERROR 11-20 15:18:59 [multiproc_executor.py:953] WorkerProc failed to start.
(VllmWorker-0 pid=7) ERROR 11-20 15:18:59 [multiproc_executor.py:953] Traceback (most recent call last):
(VllmWorker-0 pid=7) ERROR 11-20 15:18:59 [multiproc_executor.py:953]   File "cpu_worker.py", line 83, in __init__
(VllmWorker-0 pid=7) ERROR 11-20 15:18:59 [multiproc_executor.py:953] ValueError: Available memory is too little.
(EngineCore pid=6) ERROR 11-20 15:19:02 [core.py:1510] Exception: WorkerProc initialization failed.
(APIServer pid=5) Traceback (most recent call last):
"""
if MODEL == "broken":
    sys.stderr.write(BROKEN + '  File "core_client.py", line 682, in __init__\n' * 40)
    sys.exit("RuntimeError: no such model, and this is the end of the log")
if MODEL == "slow":
    time.sleep(1000)
sys.stdout.write("about to listen\n")
sys.stdout.flush()
Server(("127.0.0.1", PORT), Handler).serve_forever()
