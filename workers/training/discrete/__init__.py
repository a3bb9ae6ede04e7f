"""How `text-tiny` and `chorale-tiny` are made: corpora, losses, recipes and what is measured on them."""
