module benches/go-kit

go 1.25

require (
	github.com/go-kit/kit v0.13.0
	github.com/go-kit/log v0.2.0
	golang.org/x/sys v0.31.0
)

require github.com/go-logfmt/logfmt v0.5.1 // indirect
