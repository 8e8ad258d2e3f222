"""A virtual machine of AWS EC2."""
