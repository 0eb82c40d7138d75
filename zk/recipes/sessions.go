package recipes

import (
	"context"
	"errors"

	"github.com/vivarium-go/vivarium/zk"
)

// RunSessions runs fn with a client and, whenever the session of that expires,
// again with a new one. fn makes its recipes anew each time: what was held is
// lost with the session. Its context ends with the session, the cause being
// zk.ErrSessionExpired.
//
// It returns when ctx ends, when connect fails, or when fn returns while its
// session lives, with their errors. The client is closed then.
func RunSessions(ctx context.Context, connect func(context.Context) (*zk.Client, error), fn func(context.Context, *zk.Client) error) error {
	for {
		c, err := connect(ctx)
		if err != nil {
			return err
		}
		err = runSession(ctx, c, fn)
		expired := errors.Is(c.Err(), zk.ErrSessionExpired)
		_ = c.Close() // the session ends by its timeout if nobody answers
		switch {
		case ctx.Err() != nil:
			return errors.Join(ctx.Err(), err)
		case !expired:
			return err
		}
	}
}

func runSession(ctx context.Context, c *zk.Client, fn func(context.Context, *zk.Client) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	returned := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-c.Done():
			cancel(c.Err())
		case <-returned:
		}
	}()
	err := fn(ctx, c)
	close(returned)
	<-watched
	return err
}
