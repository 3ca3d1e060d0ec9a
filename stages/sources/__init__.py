"""Where frames come from: cameras and streams that do not wait, files and folders that do."""
