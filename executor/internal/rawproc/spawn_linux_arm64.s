#include "textflag.h"

// Layout of rawOp and result, see program_linux.go, and of cloneCall, see child_linux.go.
#define OP_TRAP 0
#define OP_ARG0 8
#define OP_ARG2 24
#define OP_ARG4 40
#define OP_OUT 56
#define OP_IGNORE 64
#define OP_FLAGS 72
#define OP_SIZE 80
#define RES_FAILED 0
#define RES_ERRNO 8
#define CALL_TRAP 0
#define CALL_ARG0 8
#define CALL_ARG2 24
#define CALL_ARG4 40

#define SYS_exit_group 94

// func spawn(call *cloneCall, first *rawOp, end uintptr, res *result) int
TEXT ·spawn(SB), NOSPLIT, $0-40
	MOVD call+0(FP), R6
	MOVD first+8(FP), R19
	MOVD end+16(FP), R20
	MOVD res+24(FP), R21
	// No stack is given: the child keeps the caller's stack pointer, and never uses it.
	MOVD CALL_TRAP(R6), R8
	LDP  CALL_ARG0(R6), (R0, R1)
	LDP  CALL_ARG2(R6), (R2, R3)
	MOVD CALL_ARG4(R6), R4
	SVC
	CBZ  R0, loop
	MOVD R0, ret+32(FP)
	RET

loop:
	CMP  R20, R19
	BHS  done
	MOVD OP_TRAP(R19), R8
	LDP  OP_ARG0(R19), (R0, R1)
	LDP  OP_ARG2(R19), (R2, R3)
	LDP  OP_ARG4(R19), (R4, R5)
	SVC
	MOVD OP_OUT(R19), R6
	MOVD R0, (R6)
	CMN  $4095, R0
	BHS  failed                   // unsigned R0 >= -4095
	MOVD OP_FLAGS(R19), R6
	TBZ  $0, R6, next             // flagWantZero
	CBZ  R0, next
	MOVD $0, R0
	B    report

failed:
	NEG  R0, R0
	MOVD OP_IGNORE(R19), R6
	CMN  $1, R6
	BEQ  next
	CMP  $63, R0
	BHI  report
	LSR  R0, R6, R6
	TBNZ $0, R6, next
	B    report

next:
	ADD  $OP_SIZE, R19
	B    loop

report:
	MOVD R0, RES_ERRNO(R21)
	MOVD R19, RES_FAILED(R21)

done:
	MOVD $0, R0
	MOVD $SYS_exit_group, R8
	SVC
	B    done
