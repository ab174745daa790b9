"""The paper's A.2: AdamW, Adagrad and Adagrad with Clippy on a small transformer."""
