"""One HTML page about a run, or about several beside each other: records and pictures in, text out.

record    what a run folder says            curves    small plots as SVG
facts     figures and tables made of it     panels    which curves are shown
pictures  what a network makes of images    page      the templates
sections  the parts of the page             write     all of it, from the run folders to the file
"""
