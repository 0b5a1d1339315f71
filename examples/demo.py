"""A LangChain chain that answers in this terminal, on the starter model: no download, no server."""

import time

from langchain_core.prompts import ChatPromptTemplate
from rich.console import Console

from langchain_vllm_local import ChatVLLMLocal

SENTENCES = [
    ("German", "I love programming."),
    ("Italian", "I love programming."),
    ("French", "The dog is hungry."),
    ("Spanish", "We drink coffee every morning."),
]


def main() -> None:
    """Streams a few translations, then says what they cost."""
    console = Console(highlight=False)
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
    num_tokens = 0
    for language, sentence in SENTENCES:
        console.print(f"[dim]{language:>8}[/dim]  {sentence} [dim]→[/dim] ", end="")
        for chunk in chain.stream({"input_language": "English", "output_language": language, "input": sentence}):
            console.print(chunk.text, end="", style="bold green")
            num_tokens += chunk.usage_metadata["output_tokens"] if chunk.usage_metadata else 0
        console.print()
    seconds = time.perf_counter() - started
    console.print(f"\n[dim]{num_tokens} tokens in {seconds:.1f} s, loading the model included[/dim]")


if __name__ == "__main__":
    main()
