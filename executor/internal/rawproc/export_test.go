package rawproc

import "unsafe"

// OpSize is the size of one call as the assembly sees it.
const OpSize = unsafe.Sizeof(rawOp{})
