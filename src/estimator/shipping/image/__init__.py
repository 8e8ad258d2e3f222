"""A version -> a container image that has been started and has answered as it must.

`spec` says what an image is made of: `wheels` and what `sbom` tells of them. `building` has it built by one of the
`engines`, or writes it as `layers` of an `oci` image without any of them, and lets `trial` ask it what it must know.
`pushing` sends what a `record` says was built to a `registry`, of which `ecr` is AWS's.
"""
