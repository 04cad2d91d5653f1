"""What quantises: ranges of activations, what int8 costs, rewriting for full integer."""
