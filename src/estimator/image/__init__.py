"""A version -> a container image that has been started and has answered as it must.

`recipe` says what an image is made of; `engines` builds it with Docker, Podman or Buildah, `oci` without any of them;
`trial` asks the image what it must know; `registry` keeps it.
"""
