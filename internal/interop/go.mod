module github.com/vivarium-go/vivarium/internal/interop

go 1.26.0

replace github.com/vivarium-go/vivarium => ../..

require (
	github.com/stretchr/testify v1.12.1
	github.com/vivarium-go/vivarium v0.0.0-00010101000000-000000000000
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect
