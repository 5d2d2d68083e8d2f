"""What lies behind an encoder's last map takes part in tasks that read that map; it would stay as it was drawn."""

from jaxtyping import Float
from torch import Tensor, nn

from selfsup.networks.encoders import Encoder, behind_last_map


def context_of(encoder: Encoder) -> nn.Linear | None:
    """Give a linear map from the vector to the last map's channels, None where nothing lies behind that map."""
    return nn.Linear(encoder.vector_width, encoder.width) if behind_last_map(encoder) else None


def map_in_context(
    encoder: Encoder, context: nn.Linear | None, inputs: Float[Tensor, "B C *S"]
) -> Float[Tensor, "B D *s"]:
    """Give the last map, with what the context makes of the vector added in every place."""
    if context is None:
        last_map: Tensor = encoder(inputs)
        return last_map
    last_map, vector = encoder.map_and_vector(inputs)
    added: Tensor = context(vector)[:, :, None, None]
    return last_map + added
