"""What a run leaves behind: samples, ticks, marks, and the folder that holds them."""
