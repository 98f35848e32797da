"""The figures of a study, one file each. A figure's data is computed first and drawn second."""
