// Package stepnet says which network a RUN step has, connects the step with it, and tells of settings that lead nowhere
// in it.
package stepnet
