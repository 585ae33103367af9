// SPDX-License-Identifier: MPL-2.0

package proc

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Group is a process and all processes that it starts. They are killed if this process
// dies first.
type Group struct {
	PID    int
	exited chan struct{}
	stop   sync.Once
}

// Start starts the command in a process group of its own.
func Start(cmd *exec.Cmd) (*Group, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	g := &Group{PID: cmd.Process.Pid, exited: make(chan struct{})}
	release, err := startGuard(g.PID)
	if err != nil {
		g.kill()
		_ = cmd.Wait()
		return nil, err
	}
	go func() {
		_ = cmd.Wait() // the log says how it ended
		release()
		close(g.exited)
	}()
	return g, nil
}

// startGuard starts a process that kills the group when this process dies, because then
// its pipe is closed.
func startGuard(pid int) (release func(), err error) {
	guard := exec.Command("sh", "-c", `read -r _; kill -s KILL -- "-$1"`, "guard", strconv.Itoa(pid))
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // keeps Ctrl-C away from it
	pipe, err := guard.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := guard.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = guard.Process.Kill() // before the pipe is closed, which would make it kill the group
		_ = guard.Wait()
		_ = pipe.Close()
	}, nil
}

func (g *Group) kill() { _ = syscall.Kill(-g.PID, syscall.SIGKILL) }

// Stop sends SIGTERM to the process. When the process has ended, and at the latest after
// the timeout, it kills the rest of the group.
func (g *Group) Stop(timeout time.Duration) {
	g.stop.Do(func() {
		select {
		case <-g.exited:
		default:
			_ = syscall.Kill(g.PID, syscall.SIGTERM)
		}
		select {
		case <-g.exited:
		case <-time.After(timeout):
		}
		g.kill()
		<-g.exited
	})
}

// Await polls until ready returns true. It fails if the process ends, or after a minute.
func (g *Group) Await(ctx context.Context, ready func() bool) error {
	timeout := time.After(time.Minute)
	for !ready() {
		select {
		case <-g.exited:
			return errors.New("the process has ended")
		case <-timeout:
			return errors.New("not ready after a minute")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// Worker is a process that this one talks to over its standard input and output. It ends
// when its input ends.
type Worker struct {
	*Group
	In  io.WriteCloser
	Out *io.PipeReader
}

// StartWorker starts the command as a Worker.
func StartWorker(cmd *exec.Cmd) (*Worker, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	// StdoutPipe would not do: Wait closes it before everything is read.
	out, stdout := io.Pipe()
	cmd.Stdout = stdout
	g, err := Start(cmd)
	if err != nil {
		return nil, err
	}
	go func() {
		<-g.exited
		_ = stdout.Close()
	}()
	return &Worker{Group: g, In: in, Out: out}, nil
}

// Stop ends the worker.
func (w *Worker) Stop() {
	_ = w.In.Close()
	_ = w.Out.Close() // else unread output would keep Wait waiting
	w.Group.Stop(time.Second)
}
