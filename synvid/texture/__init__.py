"""Where textures come from: the pictures that fill the objects of a clip."""
