"""What a template demands of a model, refused before anything is trained."""

from pofx.core.errors import UsageError
from pofx.core.model import Completing, Infilling
from pofx.runs.models import model_entry


def check_fills(model: str, *, begins: bool) -> None:
    """Refuse a model that cannot fill a template, of which what is known only begins the item, or lies anywhere.

    Raises:
        UsageError: the model does not complete items, or only from their beginning.
    """
    of = model_entry(model).model
    if not issubclass(of, Completing) or not (begins or issubclass(of, Infilling)):
        raise UsageError(f"{model} cannot fill this template: pass --model masked-diffusion")
