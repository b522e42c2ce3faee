"""What a template demands of a model, refused before anything is trained."""

from pofx.core.errors import UsageError
from pofx.core.model import Completing, Infilling
from pofx.runs.models import model_entry


def check_fills(model: str, *, begins: bool, trained: bool = False) -> None:
    """Refuse a model that cannot fill a template, of which what is known only begins the item, or lies anywhere.

    Args:
        model: its name.
        trained: it is that of a run, which is used in place of a new training.

    Raises:
        UsageError: the model does not complete items, or only from their beginning.
    """
    of = model_entry(model).model
    if not issubclass(of, Completing) or not (begins or issubclass(of, Infilling)):
        mend = "leave --run out, or give one of masked-diffusion" if trained else "pass --model masked-diffusion"
        raise UsageError(f"{model} cannot fill this template: {mend}")
