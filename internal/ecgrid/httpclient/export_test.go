package httpclient

// What the tests of this package measure the clients against.
const (
	MaxSilence = maxSilence
	QuietTime  = quietTime
	MaxHeader  = maxHeader
)
