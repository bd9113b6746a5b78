"""From an encoder and labelled examples to a predictor: plan, proof, training, files in and out."""
