// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"cmp"
	"net/http"
	"time"
)

// RESTReading says how ECGrid behaves in what the documentation of its REST API leaves
// open. The zero value is the plainest reading.
type RESTReading struct {
	TokenLife time.Duration // 0: 1 hour
	Expiry    Expiry        // how times are written. 0: with Z
	// ExpirySkew is how far expiresAt is ahead of the end of the token. Below 0: behind it.
	ExpirySkew time.Duration
	// ServerClock is how far the server's clock is ahead, in all times and the Date header.
	ServerClock time.Duration

	OpenTokens  int    // of a user at once. 0: any number
	TableFull   Denial // of a login beyond that. Zero: 401 InvalidSession
	SharedTable bool   // SOAP sessions and tokens count together against both limits
	NoLockOut   bool   // refused logins do not lock this API. Else Limits.LockAfter counts for both

	Refusal    Denial     // of a wrong login or password. Zero: 401 InvalidAPIKey
	LoginField LoginField // of auth/login. 0: login

	// RefreshHeader is whether auth/refresh needs a credential besides the token in its body.
	// 0: it may have one, which must be alive. Never: it is not looked at.
	RefreshHeader Choice

	MaxPage          int     // of users/list. 0: any size
	RefuseLargePages bool    // 400 above MaxPage. Else the page is cut
	PastEnd          PageEnd // a page past the end. 0: an empty one
	NullLists        bool    // null for an empty page

	KeyPassword   Denial // of auth/password with an API key. Zero: it works
	WrongPassword Denial // of a wrong currentPassword. Zero: 400 InvalidParameter
	Done          Form   // data of auth/password and auth/logout. 0: true, NotFound is not used

	NoKey        Form   // data of a user without a key. 0: ""
	Inaccessible Denial // of a user that the caller may not see. Zero: 404 ObjectNotFound

	Codes        Form   // errorCode and message of a success. 0: ""
	NullIDs      bool   // networkId and mailboxId of none are null. Else 0
	NumericEnums bool   // authLevel and status are numbers. Else names
	ExtraFields  Choice // unknown fields in each object
	Reordered    Choice // fields in any order
	Indented     Choice
	Charset      Choice // in Content-Type
	Chunked      Choice

	RetryAfter time.Duration // of a 429 and some 503, in whole seconds. 0: 1 second
}

// Expiry is a form of expiresAt and created. All are UTC.
type Expiry int

// The forms of a time.
const (
	ExpiryZ          Expiry = iota
	ExpiryOffset            // +00:00
	ExpiryLocal             // without an offset
	ExpiryTicks             // 7 decimals and Z
	ExpiryLocalTicks        // 7 decimals without an offset
	ExpiryNull
)

// LoginField is the field of auth/login that has the login.
type LoginField int

// The fields. Others are ignored.
const (
	LoginOnly LoginField = iota
	EmailOnly
	LoginOrEmail // login counts if both are there
)

// PageEnd is the answer to a page past the end.
type PageEnd int

// The answers.
const (
	EmptyPage PageEnd = iota
	LastPage          // again
	NoPage            // 404 ObjectNotFound
)

// Form is how a value is written that says nothing.
type Form int

// The forms. What Plain is depends on the value.
const (
	Plain Form = iota
	Null
	Absent   // the field is left out
	NotFound // 404 ObjectNotFound instead of a success
)

// Choice is whether an answer has a feature.
type Choice int

// The choices.
const (
	Sometimes Choice = iota // at random
	Never
	Always
)

func (d *random) chooses(c Choice) bool { return c == Always || c == Sometimes && d.oneIn(2) }

// Denial is a documented pair of HTTP status and errorCode.
type Denial struct {
	Status int
	Code   string
}

func (d Denial) Error() string { return d.Code }

// The denials of the documentation.
var (
	InvalidParameter = Denial{http.StatusBadRequest, "InvalidParameter"}
	InvalidAPIKey    = Denial{http.StatusUnauthorized, "InvalidAPIKey"}
	InvalidSession   = Denial{http.StatusUnauthorized, "InvalidSession"}
	AccessDenied     = Denial{http.StatusForbidden, "AccessDenied"}
	ObjectNotFound   = Denial{http.StatusNotFound, "ObjectNotFound"}
	RateLimited      = Denial{http.StatusTooManyRequests, "RateLimitExceeded"}
)

func (r RESTReading) tokenLife() time.Duration  { return cmp.Or(r.TokenLife, time.Hour) }
func (r RESTReading) retryAfter() time.Duration { return cmp.Or(r.RetryAfter, time.Second) }

// RESTReadings are the readings by name: each knob on its own, and some together. A client
// has to work with all of them.
var RESTReadings = map[string]RESTReading{
	"as documented": {},

	"tokens live 3 s":                    {TokenLife: 3 * time.Second},
	"tokens live 20 s":                   {TokenLife: 20 * time.Second},
	"tokens live 30 days":                {TokenLife: 30 * 24 * time.Hour},
	"expiresAt with +00:00":              {Expiry: ExpiryOffset},
	"expiresAt without an offset":        {Expiry: ExpiryLocal},
	"expiresAt with 7 decimals":          {Expiry: ExpiryTicks},
	"expiresAt with 7 decimals, no zone": {Expiry: ExpiryLocalTicks},
	"expiresAt is null":                  {Expiry: ExpiryNull},
	"expiresAt is null, 5 s":             {Expiry: ExpiryNull, TokenLife: 5 * time.Second},
	"tokens die early":                   {TokenLife: 5 * time.Second, ExpirySkew: time.Minute},
	"tokens outlive expiresAt":           {TokenLife: 10 * time.Minute, ExpirySkew: -9*time.Minute - 55*time.Second},
	"the clock is 5 h ahead":             {TokenLife: 5 * time.Second, ServerClock: 5 * time.Hour},
	"the clock is 5 h behind":            {ServerClock: -5 * time.Hour},

	"one token, then InvalidSession":     {OpenTokens: 1},
	"one token, then AccessDenied":       {OpenTokens: 1, TableFull: AccessDenied},
	"one token, then RateLimitExceeded":  {OpenTokens: 1, TableFull: RateLimited},
	"five tokens, then InvalidSession":   {OpenTokens: 5},
	"five tokens, then AccessDenied":     {OpenTokens: 5, TableFull: AccessDenied},
	"five tokens, then 429":              {OpenTokens: 5, TableFull: RateLimited},
	"one token of 12 s":                  {OpenTokens: 1, TokenLife: 12 * time.Second},
	"one token of 12 s, then 429":        {OpenTokens: 1, TokenLife: 12 * time.Second, TableFull: RateLimited},
	"tokens and sessions share a table":  {OpenTokens: 5, SharedTable: true},
	"no lock-out":                        {NoLockOut: true},
	"a refused login is InvalidSession":  {Refusal: InvalidSession},
	"a refused login is invalid":         {Refusal: InvalidParameter},
	"a refused login is denied":          {Refusal: AccessDenied},
	"a refused login is not found":       {Refusal: ObjectNotFound},
	"only email is read":                 {LoginField: EmailOnly},
	"login or email is read":             {LoginField: LoginOrEmail},
	"a refresh needs a credential":       {RefreshHeader: Always},
	"a refresh may have no credential":   {RefreshHeader: Never},
	"pages are cut to 25":                {MaxPage: 25},
	"pages are cut to 3":                 {MaxPage: 3},
	"pages above 25 are refused":         {MaxPage: 25, RefuseLargePages: true},
	"pages above 100 are refused":        {MaxPage: 100, RefuseLargePages: true},
	"past the end: the last page":        {PastEnd: LastPage},
	"past the end: the last of 3":        {PastEnd: LastPage, MaxPage: 3},
	"past the end: not found":            {PastEnd: NoPage},
	"past the end of 3: not found":       {PastEnd: NoPage, MaxPage: 3},
	"empty pages are null":               {NullLists: true},
	"a key changes no password: 401":     {KeyPassword: InvalidSession},
	"a key changes no password: 403":     {KeyPassword: AccessDenied},
	"a wrong password is InvalidSession": {WrongPassword: InvalidSession},
	"a wrong password is InvalidAPIKey":  {WrongPassword: InvalidAPIKey},
	"a wrong password is denied":         {WrongPassword: AccessDenied},
	"a success has null data":            {Done: Null, ExtraFields: Always},
	"a success has no data":              {Done: Absent, ExtraFields: Always},
	"no key is null":                     {NoKey: Null, ExtraFields: Never}, // one of the fields could be the key
	"no key is no data":                  {NoKey: Absent, ExtraFields: Never},
	"no key is not found":                {NoKey: NotFound},
	"no access is AccessDenied":          {Inaccessible: AccessDenied},
	"no codes on success":                {Codes: Absent},
	"null codes on success":              {Codes: Null},
	"no network is null":                 {NullIDs: true},
	"enums are numbers":                  {NumericEnums: true},
	"unknown fields":                     {ExtraFields: Always},
	"fields in any order":                {Reordered: Always},
	"indented":                           {Indented: Always},
	"no charset":                         {Charset: Never},
	"a charset":                          {Charset: Always},
	"chunked":                            {Chunked: Always},
	"plain":                              {ExtraFields: Never, Reordered: Never, Indented: Never, Charset: Never, Chunked: Never},
	"Retry-After of 2 s":                 {RetryAfter: 2 * time.Second},

	"all small": {
		TokenLife: 5 * time.Second, Expiry: ExpiryLocalTicks, OpenTokens: 1, TableFull: RateLimited, MaxPage: 3, PastEnd: LastPage,
		Done: Absent, NoKey: Absent, Codes: Absent, NullIDs: true, LoginField: EmailOnly, KeyPassword: AccessDenied,
		ExtraFields: Never,
	},
	"all strict": {
		Expiry: ExpiryNull, OpenTokens: 5, TableFull: AccessDenied, SharedTable: true, Refusal: AccessDenied, MaxPage: 25, RefuseLargePages: true,
		PastEnd: NoPage, KeyPassword: InvalidSession, WrongPassword: InvalidSession, Done: Null, NoKey: NotFound, Inaccessible: AccessDenied, Codes: Null,
		RefreshHeader: Always,
	},
}
