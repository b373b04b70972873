"""The planner and front door of attnc: passes, strategies, cost model, plans."""
