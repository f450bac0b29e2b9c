"""What is wrong is noticed, told once, and told again when it is over."""
