"""Text and foreign formats in, graph out."""

assert __name__ == "netc.frontend", "import netc.frontend, not the folder `frontend` itself"
