"""Who gets into the gallery, and out of it again: the commands, and what they share with the page."""
