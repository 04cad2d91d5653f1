"""The largest texture that every phone's GPU has, to which layers of the export form keep."""

# WebGPU guarantees textures of 8192 x 8192, as phones do. ML Drift lays (1, height, width,
# channels) out as a texture of height * ceil(channels / 4) by width; where one is larger nothing
# runs at all.
TEXTURE_SIZE = 8192
