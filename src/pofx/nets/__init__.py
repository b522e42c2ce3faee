"""Networks: tensor → tensor modules. No loss, no sampling, no family lives here."""
