// Command foreign is the program, and the shell, of images for other architectures: the tests cross-compile it. As a
// shell it knows one operator, &&, and no quotes.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	args := os.Args[1:]
	if len(args) < 2 || args[0] != "-c" {
		finish(command(args))
	}
	for _, words := range strings.Split(args[1], "&&") {
		if err := command(strings.Fields(words)); err != nil {
			finish(err)
		}
	}
}

func finish(err error) {
	exit := new(exec.ExitError)
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func command(words []string) error {
	if len(words) == 0 {
		fmt.Println(runtime.GOARCH, os.Args[0])
		return nil
	}
	args := words[1:]
	switch words[0] {
	case "arch":
		fmt.Println(runtime.GOOS + "/" + runtime.GOARCH)
	case "echo":
		fmt.Println(strings.Join(args, " "))
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "id":
		fmt.Println(os.Getuid(), os.Geteuid(), os.Getgid())
	case "self":
		exe, err := os.Executable()
		fmt.Println(exe)
		return err
	case "write": // FILE TEXT...
		return os.WriteFile(args[0], []byte(strings.Join(args[1:], " ")+"\n"), 0o644)
	case "writearch": // FILE
		return os.WriteFile(args[0], []byte(runtime.GOARCH+"\n"), 0o644)
	case "cat":
		text, err := os.ReadFile(args[0])
		fmt.Print(string(text))
		return err
	case "again": // COMMAND...: in a process that this one becomes
		return syscall.Exec("/proc/self/exe", append([]string{"again"}, args...), os.Environ())
	case "listen":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		return l.Close()
	case "unshare":
		fmt.Println(syscall.Unshare(syscall.CLONE_NEWUSER))
	case "failfor": // ARCH
		if runtime.GOARCH == args[0] {
			os.Exit(3)
		}
	case "exit":
		status, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		os.Exit(status)
	default:
		cmd := exec.Command(words[0], args...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		return cmd.Run()
	}
	return nil
}
