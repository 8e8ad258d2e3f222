"""The deployment target `ec2`: an instance of AWS EC2."""
