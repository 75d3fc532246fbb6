// Package script has what the first processes of steps do, as system calls that are written down before: parts that
// back ends put together, and what their failures mean to people.
package script
