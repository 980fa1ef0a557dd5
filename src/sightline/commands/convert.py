"""`sightline convert`: a model for other programs, and one out of others' parts.

It names files and prints; what fits what is `sightline.interop`'s to say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sightline.commands.options import Dtype
from sightline.whole_file import check_new, new_folder

EXAMPLE = "Example: sightline convert llava sightline-tiny --out tiny-llava"
Out = Annotated[Path, typer.Option(help="A new folder.")]

app = typer.Typer(help="Hand a model to other programs, or build one out of theirs.", no_args_is_help=True)


@app.command(epilog=EXAMPLE)
def llava(
    out: Out,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="sightline-tiny, a folder or a hub id.")
    ] = "sightline-tiny",
    dtype: Annotated[str, typer.Option(help="auto: as MODEL is; float32, bfloat16 or float16.")] = "auto",
) -> None:
    """Write MODEL as a LLaVA checkpoint, which transformers, vLLM and others load without this package."""
    from sightline.interop.load import load, stored_dtype
    from sightline.interop.to_transformers import save_as_llava

    check_new(out)
    # What is written is not computed with here, so the machine has no say in it.
    loaded, processor = load(model, "cpu", stored_dtype(model) if dtype == "auto" else dtype)
    save_as_llava(loaded, processor, out)
    print(f"written: {out} (LlavaForConditionalGeneration)")


@app.command(
    epilog="Example: sightline convert build --vision openai/clip-vit-base-patch16 "
    "--language HuggingFaceTB/SmolLM2-135M-Instruct --out vlm"
)
def build(
    out: Out,
    vision: Annotated[str, typer.Option(help="A CLIP or SigLIP checkpoint: folder or hub id; or a model of ours.")],
    language: Annotated[str, typer.Option(help="A causal language model: folder, hub id or GGUF file.")],
    dtype: Dtype = "auto",
) -> None:
    """Put a tower and a language model together, with a fresh projector between, to be trained.

    Tokens that the vocabulary lacks (an image placeholder, say) are added to it.
    """
    import torch

    from sightline.interop.compose import compose
    from sightline.interop.load import named_dtype

    check_new(out)
    kind = torch.float32 if dtype == "auto" else named_dtype(dtype)
    built, processor = compose(vision, language, dtype=kind)
    with new_folder(out) as inside:
        built.save_pretrained(inside)
        processor.save_pretrained(inside)
    print(f"written: {out} ({_summary(built)}; its projector is untrained)")


def _summary(model: Any) -> str:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return f"{parameters / 1e6:,.1f} M parameters, vocabulary of {model.config.vocab_size:,}"
