#!/bin/bash
# Releases the Elastic IP address in region $1, if this instance has it, and ends the instance with its disk.
instance=$(cat /var/lib/cloud/data/instance-id)
read -r allocation association < <(aws ec2 describe-addresses --region "$1" \
  --filters "Name=instance-id,Values=$instance" \
  --query 'Addresses[0].[AllocationId,AssociationId]' --output text)
if [[ $allocation == eipalloc-* ]]; then
  aws ec2 disassociate-address --region "$1" --association-id "$association"
  # Without it, AWS gives the instance another address only after a while.
  for attempt in {1..30}; do
    aws ec2 release-address --region "$1" --allocation-id "$allocation" && break
    sleep 20
  done
fi
systemctl poweroff
