"""What a phone's GPU bounds, and what layers of the export form pay to spare it operations."""

# WebGPU guarantees textures of 8192 x 8192, as phones do. ML Drift lays (1, height, width,
# channels) out as a texture of height * ceil(channels / 4) by width; where one is larger nothing
# runs at all.
TEXTURE_SIZE = 8192
# Multiplications that a layer may do in vain to spare a GPU an operation: a tenth of a millisecond
# of a processor's core, where an operation costs a phone's GPU a hundredth.
SPARE_PRODUCTS = 2**21
