#include "textflag.h"

// Layout of rawOp and result, see program_linux.go, and of cloneCall, see child_linux.go.
#define OP_TRAP 0
#define OP_ARG0 8
#define OP_ARG1 16
#define OP_ARG2 24
#define OP_ARG3 32
#define OP_ARG4 40
#define OP_ARG5 48
#define OP_OUT 56
#define OP_IGNORE 64
#define OP_FLAGS 72
#define OP_SIZE 80
#define RES_FAILED 0
#define RES_ERRNO 8
#define CALL_TRAP 0
#define CALL_ARG0 8
#define CALL_ARG1 16
#define CALL_ARG2 24
#define CALL_ARG3 32
#define CALL_ARG4 40

#define SYS_exit_group 231

// func spawn(call *cloneCall, first *rawOp, end uintptr, res *result) int
TEXT ·spawn(SB), NOSPLIT, $0-40
	MOVQ call+0(FP), AX
	MOVQ first+8(FP), R12
	MOVQ end+16(FP), R13
	MOVQ res+24(FP), BX
	// No stack is given: the child keeps the caller's stack pointer, and never uses it.
	MOVQ CALL_ARG0(AX), DI
	MOVQ CALL_ARG1(AX), SI
	MOVQ CALL_ARG2(AX), DX
	MOVQ CALL_ARG3(AX), R10
	MOVQ CALL_ARG4(AX), R8
	MOVQ CALL_TRAP(AX), AX
	SYSCALL
	TESTQ AX, AX
	JEQ  loop
	MOVQ AX, ret+32(FP)
	RET

loop:
	CMPQ R12, R13
	JCC  done
	MOVQ OP_TRAP(R12), AX
	MOVQ OP_ARG0(R12), DI
	MOVQ OP_ARG1(R12), SI
	MOVQ OP_ARG2(R12), DX
	MOVQ OP_ARG3(R12), R10
	MOVQ OP_ARG4(R12), R8
	MOVQ OP_ARG5(R12), R9
	SYSCALL
	MOVQ OP_OUT(R12), CX
	MOVQ AX, (CX)
	CMPQ AX, $0xfffffffffffff001
	JCC  failed
	MOVQ OP_FLAGS(R12), CX
	TESTQ $1, CX                  // flagWantZero
	JEQ  next
	TESTQ AX, AX
	JEQ  next
	MOVQ $0, AX
	JMP  report

failed:
	NEGQ AX
	MOVQ OP_IGNORE(R12), CX
	CMPQ CX, $-1
	JEQ  next
	CMPQ AX, $63
	JHI  report
	BTQ  AX, CX
	JCC  report

next:
	ADDQ $OP_SIZE, R12
	JMP  loop

report:
	MOVQ AX, RES_ERRNO(BX)
	MOVQ R12, RES_FAILED(BX)

done:
	MOVQ $0, DI
	MOVQ $SYS_exit_group, AX
	SYSCALL
	JMP  done
