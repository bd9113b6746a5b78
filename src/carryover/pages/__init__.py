"""Pages and charts of reports: one self-contained HTML file each, for light and dark, phones and print."""
