"""What is seen of a session in a browser: figures and controls of Bokeh, thin over `cyclestrain.explorer.session`."""
