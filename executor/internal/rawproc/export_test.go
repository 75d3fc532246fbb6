package rawproc

import "unsafe"

// UseClone makes Start do what it does where there is no clone3.
func (p *Program) UseClone() { p.old = true }

// OpSize is the size of one call as the assembly sees it.
const OpSize = unsafe.Sizeof(rawOp{})
