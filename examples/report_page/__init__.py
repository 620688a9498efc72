"""Make reports with everything a page can show, their pages, and pictures of them."""
