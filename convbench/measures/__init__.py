"""What is measured: one module or package a measure, none of which imports another's private parts."""
