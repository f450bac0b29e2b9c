"""Where candidates come from. Each channel is a module with ``find(conn, work)``: candidates not given before."""
