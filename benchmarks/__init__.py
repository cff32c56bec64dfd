"""What FTzard claims about its speed, measured: `python -m benchmarks`, or `python -m benchmarks NAME`."""
