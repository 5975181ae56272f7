"""What an encoder with a decoder decodes where a trainer keeps the labels for a loss of its own."""

from typing import Any

from lora_dropout.peft.averaging import base_model

#: Names of what a decoder reads.
GIVEN = ("decoder_input_ids", "decoder_inputs_embeds")


def check_decoder_inputs(trainer: Any, inputs: dict[str, Any]) -> None:
    """Refuse a batch whose labels are the only thing that the decoder's inputs could be made of.

    transformers' trainer takes the labels out of the batch before it calls the model, where it
    computes the loss by ``compute_loss_func`` or smooths labels. T5 then has nothing to decode, and
    BART decodes the encoder's text.

    Args:
        trainer: of transformers.
        inputs: the batch, tensors by name.

    Raises:
        ValueError: the batch has labels and no inputs of the decoder, and the loss is not the
            model's.
    """
    own = trainer.compute_loss_func is not None or trainer.label_smoother is not None
    base = base_model(trainer.model)
    if not own or "labels" not in inputs or any(name in inputs for name in GIVEN):
        return
    if hasattr(base, "prepare_decoder_input_ids_from_labels"):
        by = "compute_loss_func" if trainer.compute_loss_func is not None else "label smoothing"
        raise ValueError(
            f"{by} takes the labels, of which {type(base).__name__} makes what it decodes: give "
            "batches decoder_input_ids, as DataCollatorForSeq2Seq(tokenizer, model=model) does"
        )
