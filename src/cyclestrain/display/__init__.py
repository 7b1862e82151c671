"""What is shown of a result, before anything is drawn: its fields in the units of plots, ranges, outlines, colours.

Arrays in, arrays and words out, and no plotting library: `figures` draws it with matplotlib, `explorer` with Bokeh.
"""
