module images

go 1.21
