"""What every benchmark needs: problems, times, launches, results and tables."""
