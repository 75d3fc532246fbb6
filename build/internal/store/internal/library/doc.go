// Package library is containers/storage, made fit for use: what panics there is an error here, of the call and of all
// who wait for the locks that it leaves behind, and layers are renamed where the store is one mount. It promises
// nothing of what the calls themselves mean: that is containers/storage's to say.
//
// A library is safe for concurrent use, by several processes too.
package library
