"""A LangChain chain that answers in this terminal, on the starter model: no download, no server."""

import argparse
import io
import sys
import time
from pathlib import Path

from langchain_core.prompts import ChatPromptTemplate
from rich.console import Console

from langchain_vllm_local import ChatVLLMLocal

SENTENCES = [
    ("German", "I love programming."),
    ("Italian", "I love programming."),
    ("French", "Where is the station?"),
    ("Spanish", "We drink coffee in the morning."),
]


def main(console: Console) -> None:
    """Streams a few translations, then says what they cost."""
    llm = ChatVLLMLocal(max_tokens=16, temperature=0)
    prompt = ChatPromptTemplate(
        [
            ("system", "You are a helpful assistant that translates {input_language} to {output_language}."),
            ("human", "{input}"),
        ]
    )
    chain = prompt | llm

    console.print("[bold]prompt | ChatVLLMLocal()[/bold]  [dim]the starter model, in this process[/dim]\n")
    started = time.perf_counter()
    llm.warm_up()  # the first call would do it; here the log's lines come before the answers
    loaded = time.perf_counter()
    num_tokens = 0
    for language, sentence in SENTENCES:
        console.print(f"[dim]{language:>8}[/dim]  {sentence} [dim]→[/dim] ", end="")
        for chunk in chain.stream({"input_language": "English", "output_language": language, "input": sentence}):
            console.print(chunk.text, end="", style="bold green", markup=False)
            num_tokens += chunk.usage_metadata["output_tokens"] if chunk.usage_metadata else 0
        console.print()
    seconds = time.perf_counter() - loaded
    console.print(f"\n[dim]{num_tokens} tokens in {seconds:.2f} s, after {loaded - started:.1f} s of loading[/dim]")


def terminal(*, recorded: bool) -> Console:
    """Returns this terminal; one that cannot show an arrow or an umlaut shows a question mark."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console(highlight=False, record=recorded, width=80 if recorded else None, emoji=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--svg", type=Path, help="also draw what the terminal showed into this file")
    svg: Path | None = parser.parse_args().svg
    console = terminal(recorded=svg is not None)
    main(console)
    if svg is not None:
        svg.parent.mkdir(parents=True, exist_ok=True)
        console.save_svg(str(svg), title="make demo")
