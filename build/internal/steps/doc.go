// Package steps has each step of a plan carried out by the room for its kind, shows that it begins and ends, and says
// in errors where it is.
package steps
