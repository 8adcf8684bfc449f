module simulated

go 1.26.8
